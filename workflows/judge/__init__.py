"""The judge: what it is asked, and how far its ratings can be trusted."""
