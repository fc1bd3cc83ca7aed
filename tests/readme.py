"""readme.py README EXAMPLE: the README shows the example that is compiled and run as a test, word for word."""

import sys

readme, example = (open(path, encoding="utf-8").read() for path in sys.argv[1:3])
shown = "".join("    " + line if line.strip() else line for line in example.splitlines(True))
if shown not in readme:
    sys.exit(f"{sys.argv[1]} does not show {sys.argv[2]} as it stands (indented by four)")
if shown.replace("causal", "casual") in readme:
    sys.exit("this check sees no difference between texts that differ")
