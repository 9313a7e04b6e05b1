"""What a search did not see."""
