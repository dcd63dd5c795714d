"""What runs in the pod: standard library only, Python 3.8 and newer, and nothing of the package around it.

The files travel in one variable; `load.py` is the program's argument and puts them together there.
"""
