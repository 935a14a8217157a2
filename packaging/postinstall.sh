#!/bin/sh
# dpkg calls this with "configure" and the version before, if there was one, and rpm with
# the number of versions that are installed.
set -e

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
case "$1 $2" in
configure\ ?* | 2*) ;;
*) exit 0 ;;
esac
mounts=$(findmnt -nlo TARGET -t fuse.ltxfs || true)
if [ -n "$mounts" ]; then
	echo "ltxfs: these mounts go on with the version before, until they are mounted again"
	echo "(ltxfs umount and mount, or systemctl restart of their units):"
	echo "$mounts" | sed 's/^/  /'
fi
