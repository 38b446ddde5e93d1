"""``python -m treadle.cli``."""

from treadle.cli import main

main()
