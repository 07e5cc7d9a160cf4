"""A picture -> degraded ones.

`table` has `distort` and the 24 distortions of TID2013, whose functions stand in `noise`, `codecs` and `appearance`;
`everyday` has the ladders of one picture, `references` TID2013's scenes. Importing this package loads none of them.
"""
