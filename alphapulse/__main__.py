"""``python -m alphapulse`` is the command ``alphapulse``."""

from alphapulse.cli import main

main()
