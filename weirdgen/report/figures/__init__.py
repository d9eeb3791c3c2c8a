"""A study's figures: each file draws one kind, from findings or the parts it needs, to a Plot."""
