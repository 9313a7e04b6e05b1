"""The rollouts behind a reference: planned, priced, carried out block by block, kept, and put together."""
