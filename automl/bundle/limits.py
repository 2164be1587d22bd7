"""What a server accepts unless it is told otherwise; importing this costs nothing."""

#: Largest size of an image file, in MiB.
MAX_MB = 20
#: Most pixels of an image.
MAX_PIXELS = 25_000_000
#: Requests that may wait; further ones are sent away.
MAX_WAITING = 100
