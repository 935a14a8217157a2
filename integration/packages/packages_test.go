package packages

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// kind is a kind of package. A verb of it is a command with the version.
type kind struct {
	glob                                     string // of its files in a release
	install, upgrade, remove, status, verify string
}

var kinds = map[string]kind{
	"deb": {
		glob: "*.deb", install: "apt-get install -qq -y /root/%s.deb", upgrade: "apt-get install -qq -y /root/%s.deb",
		remove: "apt-get remove -qq -y ltxfs", status: "dpkg-query -Wf '${Version}' ltxfs", verify: "dpkg --verify ltxfs",
	},
	"rpm": {
		glob: "*.rpm", install: "rpm --force-debian -i --nodeps /root/%s.rpm", upgrade: "rpm --force-debian -U --nodeps /root/%s.rpm",
		remove: "rpm --force-debian -e ltxfs", status: "rpm -q --qf '%{VERSION}' ltxfs", verify: "rpm --verify --nodeps ltxfs",
	},
}

// The packages can be installed, used, upgraded and removed, with mounts and with a file that
// is in no replica, and lose nobody anything.
func TestPackages(t *testing.T) {
	t.Parallel()
	m := boot(t) // while others build
	dir := releases(t)
	for version, dir := range map[string]string{before: filepath.Join(dir, "before"), after: filepath.Join(dir, "after")} {
		for name, k := range kinds {
			files, err := filepath.Glob(filepath.Join(dir, k.glob))
			require.NoError(t, err)
			require.Len(t, files, 1)
			data, err := os.ReadFile(files[0])
			require.NoError(t, err)
			m.put("/root/"+version+"."+name, string(data))
		}
	}
	m.sh("mkdir -p /var/backups/orders /mnt/orders /mnt/all /mnt/archive")
	ltxfstest.MustRun(t, "cp", "-a", ltxfstest.Orders(t)+"/.", filepath.Join(m.root, "var/backups/orders"))
	m.put("/etc/ltxfs/orders.env", "REPLICA=/var/backups/orders\nMOUNTPOINT=/mnt/orders\nLTXFS_RW=true\nLTXFS_DB_BYTES=exact\n")
	m.put("/etc/ltxfs/gone.env", "REPLICA=/var/backups/gone\nMOUNTPOINT=/mnt/gone\nLTXFS_STAGING_DIR='/srv/of a unit'\n")
	m.sh("echo '/var/backups/gone /mnt/gone ltxfs rw,noauto,staging_dir=/srv/of-fstab,nofail 0 0' >>/etc/fstab")
	m.put("/srv/of a unit/replica/mount/ltx/a.tmp", "")
	m.put("/srv/of-fstab/replica/mount/ltx/b.tmp", "")
	m.put("/etc/litestream.yml", "dbs:\n  - path: /var/lib/app/orders.db\n    replica:\n      path: /var/backups/orders\n")

	t.Run("deb", func(t *testing.T) {
		m, k := m.in(t), kinds["deb"]
		m.sh(k.install, before)
		m.sh("ln -s /bin/false /root/systemctl; PATH=/root:$PATH sh /var/lib/dpkg/info/ltxfs.postinst configure; rm /root/systemctl")
		t.Run("units", func(t *testing.T) { testUnits(m.in(t)) })
		t.Run("fstab", func(t *testing.T) { testFstab(m.in(t)) })
		t.Run("updatedb", func(t *testing.T) { testUpdatedb(m.in(t)) })
		t.Run("share", func(t *testing.T) { testShare(m.in(t)) })
		staged := testLife(m, k, "/mnt/litestream", "/mnt/all", "/mnt/archive", "/mnt/orders")
		m.sh(k.install, after)
		require.Contains(t, m.sh("apt-get purge -qq -y ltxfs")+"\n", "\n  "+staged+"\n")
		require.Equal(t, stagedText, m.sh("cat %s", staged))
		require.Empty(t, m.sh("find /usr /etc /var/lib/dpkg/info -name '*ltxfs*' -not -path '/etc/ltxfs*'"), "what is left of the package")
	})
	t.Run("rpm", func(t *testing.T) {
		m := m.in(t)
		m.sh("rm -r /var/lib/ltxfs")
		m.sh(kinds["rpm"].install, before)
		m.sh("systemctl enable --now ltxfs@orders")
		testLife(m, kinds["rpm"], "/mnt/orders")
	})
}

// tree is what a mount of a replica shows.
const tree = "db\nltx\nsnapshots"

// database is the SHA-256 of the database in a mount of the sample replica.
func database(m *machine, path string) string {
	m.t.Helper()
	return m.sh("sha256sum %s", path)[:64]
}

// newest is that of the newest state, as Litestream restores it.
func newest(m *machine) string {
	states, _ := ltxfstest.OrdersStates(m.t)
	return states[len(states)-1].SHA256
}

// The units mount, and a mount that loses its daemon is mounted again.
func testUnits(m *machine) {
	verified := m.run("systemd-analyze verify --man=no ltxfs.service ltxfs@orders.service")
	require.Zero(m.t, verified.Code, verified)
	require.Empty(m.t, verified.Stderr)

	m.sh("systemctl enable --now ltxfs ltxfs@orders")
	const path = "/mnt/orders/db/latest.db"
	require.Equal(m.t, newest(m), database(m, path))
	require.Equal(m.t, tree, m.sh("ls /mnt/litestream/orders.db"))

	m.sh("systemctl reload ltxfs@orders")
	ltxfstest.Eventually(m.t, ltxfstest.Timeout, "the unit has dropped its listings", func() bool {
		return m.run("journalctl -q -u ltxfs@orders LTXFS_SIGNAL=hangup | grep 'dropped all listings'").Code == 0
	})
	require.Contains(m.t, m.sh("systemctl status ltxfs@orders"), "Status: \"/var/backups/orders read-write on /mnt/orders, 0 files unpublished\"")

	for _, signal := range []string{"KILL", "ABRT"} { // ABRT is what the watchdog sends, and how a panic ends
		old := m.sh("systemctl show -P MainPID ltxfs@orders")
		m.sh("kill -%s %s", signal, old)
		ltxfstest.Eventually(m.t, ltxfstest.Timeout, "the unit has mounted again", func() bool {
			now := strings.Split(m.sh("systemctl show -p ActiveState,MainPID ltxfs@orders"), "\n") // of one moment
			return slices.Contains(now, "ActiveState=active") && !slices.Contains(now, "MainPID="+old)
		})
		require.Equal(m.t, newest(m), database(m, path))
	}
}

// The example's lines mount, the last by its first access.
func testFstab(m *machine) {
	m.sh("cat /usr/share/doc/ltxfs/examples/fstab >>/etc/fstab")
	m.sh("echo 'file:///var/backups/orders /mnt/url fuse.ltxfs ro 0 0' >>/etc/fstab")
	m.sh("echo '/var/lib/app/orders.db /mnt/live fuse.ltxfs ro,config=/etc/litestream.yml 0 0' >>/etc/fstab")
	m.sh("mkdir /mnt/url /mnt/live; systemctl stop ltxfs@orders; mount -a; mount -a") // the second finds all mounted
	require.Equal(m.t, tree, m.sh("ls /mnt/orders"))
	require.Equal(m.t, tree+"\n"+tree, m.sh("ls /mnt/url && ls /mnt/live"))
	m.sh("ltxfs umount /mnt/url; ltxfs umount /mnt/live")
	require.Equal(m.t, tree, m.sh("ls /mnt/all/orders.db"))
	m.sh("ltxfs umount /mnt/orders; systemctl start ltxfs@orders")

	m.sh("systemctl daemon-reload; systemctl start mnt-archive.automount")
	require.Equal(m.t, "autofs", m.sh("findmnt -no FSTYPE /mnt/archive"))
	require.Equal(m.t, tree, m.sh("ls /mnt/archive"))
	require.Equal(m.t, "autofs\nfuse.ltxfs", m.sh("findmnt -no FSTYPE /mnt/archive"))
	require.Equal(m.t, "10min", m.sh("systemctl show -P TimeoutIdleUSec mnt-archive.automount"))
}

// updatedb, as it is run each day, finds the replica, and isn't sent into its mounts.
func testUpdatedb(m *machine) {
	m.sh("systemctl start plocate-updatedb")
	found := m.sh("plocate .ltx")
	require.Contains(m.t, found, "\n/var/backups/orders/ltx/9/")
	require.NotContains(m.t, found, "/mnt/")
	require.Contains(m.t, m.sh("updatedb -o /root/all; plocate -d /root/all .ltx"), "\n/mnt/orders/ltx/", "without the package's word")
}

// Manual pages and completions are where they are looked for, and bash completes by them. The
// README's links lead to the other pages.
func testShare(m *machine) {
	require.Equal(m.t, `.TH "LTXFS-MOUNT" "1" "Nov 2026" "ltxfs" "ltxfs"`, m.sh("zcat /usr/share/man/man8/mount.ltxfs.8.gz | grep '^.TH'"))
	require.Equal(m.t, "mount", m.sh(`set +eu
		source /usr/share/bash-completion/bash_completion
		source /usr/share/bash-completion/completions/ltxfs
		COMP_WORDS=(ltxfs mou) COMP_CWORD=1 COMP_LINE="ltxfs mou" COMP_POINT=9 COMP_TYPE=9 COMP_KEY=9
		__start_ltxfs
		echo $COMPREPLY`))
	pages := m.sh(`cd /usr/share/doc/ltxfs; ls $(grep -o '](docs/[a-z]*.md' README.md | cut -c3- | sort -u) CHANGELOG.md`)
	require.Contains(m.t, pages, "docs/operating.md")
	require.Empty(m.t, m.sh("find /usr/share/doc/ltxfs -name '*_test*'"))
	m.sh("[ -s /usr/share/zsh/vendor-completions/_ltxfs ] && [ -s /usr/share/fish/vendor_completions.d/ltxfs.fish ]")
}

// stagedText is what is written to a mount, and can't be published.
const stagedText = "no LTX file"

// testLife upgrades and removes the package under mounts, and then without, and returns where
// a file is staged. Of the mounts, /mnt/orders is one that the unit ltxfs@orders made.
func testLife(m *machine, k kind, mounts ...string) (staged string) {
	t := m.t
	m.sh("echo '%s' >/mnt/orders/ltx/0/upload.tmp", stagedText)
	pid := m.sh("systemctl show -P MainPID ltxfs@orders")
	working := func() {
		t.Helper()
		require.Equal(t, newest(m), database(m, "/mnt/orders/db/latest.db"))
		require.Equal(t, stagedText, m.sh("cat /mnt/orders/ltx/0/upload.tmp"))
		require.Equal(t, pid, m.sh("systemctl show -P MainPID ltxfs@orders"))
	}
	told := m.sh(k.upgrade, after) + "\n"
	require.Contains(t, told, "these mounts go on with the version before, until they are mounted again")
	for _, mount := range mounts {
		require.Contains(t, told, "\n  "+mount+"\n")
	}
	require.Empty(t, m.sh("%s", k.verify))
	require.Regexp(t, `^ltxfs v1\.0\.0\n`, m.sh("ltxfs version"))
	working()

	refused := m.run(k.remove)
	require.NotZero(t, refused.Code)
	for _, mount := range mounts {
		require.Contains(t, refused.Stdout+refused.Stderr, "\n  "+mount+"\n", "the removal is refused, since there are mounts")
	}
	require.Equal(t, after, m.sh("%s", k.status))
	working()

	m.sh("systemctl stop 'ltxfs*'; systemctl stop 'mnt-*.automount' 'mnt-*.mount'")
	require.Equal(t, "8", m.sh("systemctl show -P ExecMainStatus ltxfs@orders"), "it has left a file unpublished")
	require.Empty(t, m.sh("findmnt -nlo TARGET -t fuse.ltxfs || true"))
	require.NotZero(t, m.run("systemctl enable --now ltxfs@gone").Code, "it has no replica")
	require.Equal(t, "activating", m.sh("systemctl show -P ActiveState ltxfs@gone"), "it is started again and again")
	told = m.sh("%s", k.remove) + "\n"
	require.Equal(t, "inactive", m.sh("systemctl show -P ActiveState ltxfs@gone"))
	require.Equal(t, "not-found", m.sh("systemctl show -P LoadState ltxfs@orders"), "systemd has it as failed, and not forgotten")
	require.Empty(t, m.sh("find /etc/systemd -name 'ltxfs*'"), "a unit is still enabled")
	require.Contains(t, told, "and are in no replica. They stay where they are")
	staged = m.sh("find /var/lib/ltxfs/staging -name upload.tmp")
	for _, path := range []string{staged, "/srv/of a unit/replica/mount/ltx/a.tmp", "/srv/of-fstab/replica/mount/ltx/b.tmp"} {
		require.Contains(t, told, "\n  "+path+"\n")
	}
	require.Equal(t, stagedText, m.sh("cat %s", staged))
	require.Equal(t, "gone", m.sh("[ -e /usr/bin/ltxfs ] || [ -L /usr/sbin/mount.ltxfs ] || echo gone"))
	return staged
}

// The scripts are sound, for any shell of POSIX.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("../../packaging/*.sh")
	require.NoError(t, err)
	require.Len(t, scripts, 3)
	checked := ltxfstest.Run(t, ltxfstest.Timeout, "shellcheck", append(scripts, "../../.ci/release")...)
	require.Zero(t, checked.Code, checked)
}
