"""The command `lading`, also as `python -m lading`."""

from lading.collector import collect_rarely

collect_rarely()

from lading.cli import main  # noqa: E402 - what it imports is what the line above is for

if __name__ == "__main__":
    main()
