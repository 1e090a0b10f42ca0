"""A verifier of exports for people who have nothing of ours: a second implementation, on purpose.

It shares no code with the part that seals and proves, so that one mistake cannot hide in both. Standard
library only and Python 3.8, because ``joining`` makes one file of these modules that goes into every export.
"""
