"""What fastrnn learns: small tasks of the literature, each a script that trains, tests and prints its figures.

==============  =============================================================================================
adding          the adding problem over 100 steps: two numbers among a hundred
addition        sums of two-digit numbers, read and written character by character
digits          scikit-learn's 8x8 digits, read row by row
shakespeare     a character language model within a budget of wall-clock time, beside PyTorch
throughput      characters a second of that training, beside PyTorch
sentiment       polarity of sentences from film reviews
forecasting     sunspots and CO2, one year ahead
==============  =============================================================================================

Run one from the project root, ``python -m bench.learn.adding``; ``--help`` says what it takes. Each runs once per seed
and reports the median. They use the toolkit as any program would, and nothing of the kernels. Data that is not
generated comes from files that the caller names, or from scikit-learn.
"""
