"""The 24 distortions of TID2013, everyday ones, and what people would say of the pictures that they are applied to."""
