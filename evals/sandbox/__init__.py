"""A model's code run where it can harm nothing."""
