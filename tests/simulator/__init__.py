"""The simulated cluster itself: it does what the originals do, and refuses what they refuse."""
