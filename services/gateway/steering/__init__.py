"""What is wanted of runs, how they stand, and the loop that moves the one towards the other."""
