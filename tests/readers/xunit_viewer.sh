#!/bin/sh
# Renders a junit.xml with xunit-viewer, a reader that is not ours: xunit_viewer.sh FILE OUT.html
# XUNIT_VIEWER_NODE_MODULES is the node_modules folder of `npm install xunit-viewer`.
set -eu
if [ $# -ne 2 ] || [ -z "${XUNIT_VIEWER_NODE_MODULES:-}" ]; then
    echo "usage: XUNIT_VIEWER_NODE_MODULES=DIR $0 FILE OUT.html" >&2
    exit 2
fi
viewer="$XUNIT_VIEWER_NODE_MODULES/.bin/xunit-viewer"
if [ ! -x "$viewer" ]; then
    echo "$viewer is missing: run npm install xunit-viewer" >&2
    exit 2
fi
rm -f "$2"
"$viewer" --results "$1" --output "$2" --console
# The viewer exits with 0 also where it could read nothing.
[ -s "$2" ] || { echo "xunit-viewer wrote no $2" >&2; exit 1; }
