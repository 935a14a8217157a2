#!/bin/sh
# dpkg calls this with "remove" before a removal, and rpm with 0.
set -e

case $1 in
remove | 0) ;;
*) exit 0 ;;
esac
mounts=$(findmnt -nlo TARGET -t fuse.ltxfs || true)
if [ -n "$mounts" ]; then
	{
		echo "ltxfs: not removed, since it is mounted. Unmount these first, with ltxfs umount"
		echo "or systemctl stop of their units:"
		echo "$mounts" | sed 's/^/  /'
	} >&2
	exit 1
fi
# A unit that is between two starts would go on to start what is no more. Disabling a
# template disables its instances, and a pattern would disable nothing.
if [ -d /run/systemd/system ]; then
	systemctl stop ltxfs.service 'ltxfs@*.service' || true
	systemctl disable ltxfs.service ltxfs@.service || true
fi
# Staging directories that mounts, units and fstab name. Below one there is a directory for
# each replica, in these one for each mount, and in these what was written.
bases=$(sed -n -e 's|^  "staging_dir": "\(/.*\)/[^/]*/[^/]*",$|\1|p' \
	-e "s|^LTXFS_STAGING_DIR=[\"']*\([^\"']*\).*|\1|p" \
	-e 's|^[^#].*[[:space:],]staging_dir="*\([^",[:space:]]*\).*|\1|p' \
	/run/ltxfs/*.json /etc/ltxfs/*.env /etc/fstab 2>/dev/null || true)
staged=$(printf '%s\n' /var/lib/ltxfs/staging "$bases" | sort -u | while read -r base; do
	[ -z "$base" ] || find "$base" -mindepth 3 -type f 2>/dev/null || true
done)
if [ -n "$staged" ]; then
	echo "ltxfs: these files were written to mounts, and are in no replica. They stay where they are;"
	echo "a mount with --rw by an ltxfs that is installed again tells how to publish them:"
	echo "$staged" | sed 's/^/  /'
fi
echo "ltxfs: if users other than root had mounts with --rw, what is in no replica of theirs is in"
echo "their ~/.local/state/ltxfs/staging, which isn't looked at."
