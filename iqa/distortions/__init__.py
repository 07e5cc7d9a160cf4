"""The 24 distortions of TID2013, and everyday ones."""
