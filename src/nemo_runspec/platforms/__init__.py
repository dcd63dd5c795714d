"""What each place allows, and how it is talked to."""
