"""What people read of a study's results: tables, Markdown and figures."""
