"""Claims measured beside a named peer in the same run; see __main__ for how to run them."""
