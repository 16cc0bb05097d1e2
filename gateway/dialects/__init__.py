"""The outward languages, one file each; our own API is dialect zero."""
