"""Scripts that set the project up; a package so that their tests can import them."""
