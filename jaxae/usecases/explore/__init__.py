"""A trained model as a page in the browser."""
