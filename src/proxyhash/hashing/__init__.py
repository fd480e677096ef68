"""Networks, proxies and the model that holds them together.

A model hashes images and texts into codes of K bits: `HashModel` is what training leaves behind.
Proxies are the binary codes of the categories that training aims at.
"""
