"""The actor's standing in its critic's landscape."""
