"""One input explained within a budget of evaluations: from Python and in the terminal."""
