"""What the processes of Cofferdam say to clients and to each other.

Pure values and codecs: nothing in this package opens, connects, spawns or reads a clock.
"""
