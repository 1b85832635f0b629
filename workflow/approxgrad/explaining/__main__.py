"""``python -m approxgrad.explaining`` does what ``approxgrad`` does in the terminal."""

import sys

from approxgrad.explaining.command_line import main

sys.exit(main())
