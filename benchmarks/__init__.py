"""Measurements that print their result; a package so that their tests can import them."""
