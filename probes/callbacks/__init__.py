"""The few lines each library wants in order to call a monitor."""
