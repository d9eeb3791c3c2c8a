"""The thin remote shell: everything that knows Ray, and nothing else does."""
