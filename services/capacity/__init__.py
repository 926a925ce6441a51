"""How large an installation must be: measured coefficients, the model that they make, and where it may not hold.

Pure: what is asked and what was measured go in, lines with their reasons come out.
"""
