package remote

import (
	"hash/crc32"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// storeAnswers are answers by which stores differ, as docs/stores.md has them from
// reports and documents. No test reaches these stores.
var storeAnswers = map[string]func(p *s3test.Proxy, s *s3test.Server){
	"AWS S3, beside a key that XML can't hold": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.AddListed("zz\bjunk"))
	},
	"Backblaze B2": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Intercept(s3test.On(s3test.All(s3test.PutObject, s3test.HasHeader("X-Amz-Checksum-")), s3test.FailSaying(400, "InvalidArgument",
			"Unsupported header 'x-amz-checksum-crc64nvme' received for this API call.")))
		p.Intercept(s3test.On(s3test.HasHeader("If-None-Match"), s3test.FailSaying(501, "NotImplemented",
			"A header you provided implies functionality that is not implemented")))
	},
	"Ceph RGW": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Intercept(s3test.On(s3test.HasHeader("X-Amz-Checksum-"), s3test.FailSaying(400, "InvalidArgument", "")))
	},
	"no time with HEAD, and no ETag with GET": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.AnswersTo(s3test.HeadObject, s3test.MapHeader("Last-Modified", s3test.Drop)))
		p.Rewrite(s3test.AnswersTo(s3test.GetObject, s3test.MapHeader("ETag", s3test.Drop)))
	},
	"times that aren't HTTP's": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.AnswersTo(s3test.HeadObject, s3test.MapHeader("Last-Modified", s3test.Retime(func(t time.Time) string { return t.Format(time.RFC3339) }))))
		p.Rewrite(s3test.AnswersTo(s3test.GetObject, s3test.MapHeader("Last-Modified", s3test.Retime(func(t time.Time) string { return t.Format(time.RFC1123Z) }))))
	},
	"times that are none": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.AnswersTo(s3test.HeadObject, s3test.MapHeader("Last-Modified", func(string) string { return "yesterday" })))
	},
	"listings without ETags, and conditions refused": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.EachListed(func(o *s3test.ListedObject) { o.ETag = "" }))
		p.Intercept(s3test.On(s3test.HasHeader("If-Match"), s3test.Fail(412, "PreconditionFailed")))
		p.Intercept(s3test.On(s3test.HasHeader("If-Unmodified-Since"), s3test.Fail(412, "PreconditionFailed")))
	},
	"another ETag altogether in listings": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.EachListed(func(o *s3test.ListedObject) { o.ETag = `"listed-` + o.ETag[1:] }))
	},
	"another ETag with GET": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.AnswersTo(s3test.GetObject, s3test.MapHeader("ETag", retag)))
		p.Rewrite(noChecksums)
	},
	"another ETag with GET, which If-Match is about": func(p *s3test.Proxy, s *s3test.Server) {
		p.Rewrite(s3test.AnswersTo(s3test.GetObject, s3test.MapHeader("ETag", retag)))
		p.Rewrite(noChecksums)
		p.Alter(func(r *http.Request) {
			if tag := r.Header.Get("If-Match"); tag != "" && s3test.GetObject.Match(r) {
				if r.Header.Set("If-Match", untag(tag)); untag(tag) == tag {
					r.Header.Set("If-Match", `"none"`)
				}
				s.Sign(r)
			}
		})
	},
	"another ETag with PUT": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.AnswersTo(s3test.PutObject, s3test.MapHeader("ETag", retag)))
		p.Rewrite(noChecksums)
	},
	"another ETag with PUT, and no metadata": func(p *s3test.Proxy, s *s3test.Server) {
		p.Rewrite(s3test.AnswersTo(s3test.PutObject, s3test.MapHeader("ETag", retag)))
		p.Rewrite(noChecksums)
		p.Alter(s.DropMetadata)
	},
	"another ETag with HEAD": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.AnswersTo(s3test.HeadObject, s3test.MapHeader("ETag", retag)))
		p.Rewrite(noChecksums)
	},
	"other ETags with HEAD and PUT, and no metadata": func(p *s3test.Proxy, s *s3test.Server) {
		p.Rewrite(s3test.AnswersTo(s3test.HeadObject, s3test.MapHeader("ETag", retag)))
		p.Rewrite(s3test.AnswersTo(s3test.PutObject, s3test.MapHeader("ETag", func(tag string) string { return retag(retag(tag)) })))
		p.Rewrite(noChecksums)
		p.Alter(s.DropMetadata)
	},
	"no ETags, and no metadata": func(p *s3test.Proxy, s *s3test.Server) {
		p.Rewrite(s3test.MapHeader("ETag", s3test.Drop))
		p.Rewrite(s3test.EachListed(func(o *s3test.ListedObject) { o.ETag = "" }))
		p.Rewrite(noChecksums)
		p.Alter(s.DropMetadata)
	},
	"Tigris under load": func(p *s3test.Proxy, _ *s3test.Server) {
		p.FailFraction(408, "RequestCanceled", 0.2, 1)
	},
	"SeaweedFS 3.97": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Intercept(s3test.On(s3test.All(s3test.GetObject, s3test.HasHeader("If-Match")), s3test.Fail(412, "PreconditionFailed")))
	},
	"Storj": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.MapListing(func(l *s3test.Listing) {
			rand.New(rand.NewPCG(1, 0)).Shuffle(len(l.Contents), func(i, j int) { l.Contents[i], l.Contents[j] = l.Contents[j], l.Contents[i] })
		}))
	},
	"Aliyun OSS": func(p *s3test.Proxy, s *s3test.Server) {
		p.Rewrite(s3test.MapHeader("ETag", strings.ToUpper))
		p.Rewrite(s3test.EachListed(func(o *s3test.ListedObject) { o.ETag = strings.ToUpper(o.ETag) }))
		p.Alter(func(r *http.Request) {
			if tag := r.Header.Get("If-Match"); tag != "" {
				r.Header.Set("If-Match", strings.ToLower(tag))
				s.Sign(r)
			}
		})
	},
	"StorageGRID": func(p *s3test.Proxy, s *s3test.Server) {
		p.Alter(func(r *http.Request) {
			if r.Header.Get("If-Match") != "" {
				r.Header.Del("If-Match")
				s.Sign(r)
			}
		})
	},
	"a store that knows ListObjects alone": func(p *s3test.Proxy, s *s3test.Server) {
		p.ListAsV1(s, 2)
	},
	"times in listings that aren't S3's": func(p *s3test.Proxy, _ *s3test.Server) {
		forms := []func(t time.Time) string{
			func(t time.Time) string { return t.Format("2006-01-02T15:04:05-0700") },
			func(t time.Time) string { return t.Format("2006-01-02T15:04:05") },
			func(t time.Time) string { return t.Format(http.TimeFormat) },
			func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) },
		}
		p.Rewrite(s3test.EachListed(func(o *s3test.ListedObject) {
			o.LastModified = s3test.Retime(forms[crc32.ChecksumIEEE([]byte(o.Key))%uint32(len(forms))])(o.LastModified)
		}))
	},
	"listings without times": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.EachListed(func(o *s3test.ListedObject) { o.LastModified = "" }))
	},
	"listings that lack sizes, times and ETags": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.EachListed(func(o *s3test.ListedObject) { o.LastModified, o.ETag, o.Size = "", "", -1 }))
	},
	"a store that lists times in a zone of its own": func(p *s3test.Proxy, _ *s3test.Server) {
		p.Rewrite(s3test.EachListed(func(o *s3test.ListedObject) {
			o.LastModified = s3test.Retime(func(t time.Time) string { return t.Add(330 * time.Minute).Format(time.RFC3339) })(o.LastModified)
		}))
	},
}

// noChecksums makes a store one that has no checksums of files.
var noChecksums = s3test.MapHeader("X-Amz-Checksum-Crc64nvme", s3test.Drop)

// retag makes another ETag of one, and untag the one that it was.
func retag(tag string) string { return `"other-` + tag[1:] }
func untag(tag string) string { return strings.Replace(tag, "other-", "", 1) }

// A mount lists, reads, writes, replaces and deletes, whatever the store answers.
func TestStoreAnswers(t *testing.T) {
	t.Parallel()
	for name, answers := range storeAnswers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := s3test.MinIO.Shared(t)
			bucket := s.Bucket(t)
			var names []string
			content := map[string][]byte{}
			for txid := ltx.TXID(1); txid <= 5; txid++ {
				name := ltx.FormatFilename(txid, txid)
				names, content[name] = append(names, name), storetest.LTX(t, txid, txid, storetest.Commit(100))
				s.Put(t, bucket, "db/0000/"+name, content[name])
			}
			proxy := s3test.NewProxy(t, s.Endpoint)
			answers(proxy, s)
			m := ltxfstest.MountWith(t, proxy.URL(bucket, "db"), ltxfstest.MountOptions{Flags: []string{"--rw", "--freshness=1s"}, Env: s.Env()})
			p := m.Process(t)
			shows := func() {
				t.Helper()
				got, err := p.ReadDir("ltx/0000")
				require.NoError(t, err)
				require.Equal(t, names, got)
				for _, name := range names {
					data, err := p.ReadFile("ltx/0000/" + name)
					require.NoError(t, err, name)
					require.Equal(t, ltxfstest.SHA256(content[name]), ltxfstest.SHA256(data), name)
				}
			}
			shows()
			before, err := p.Stat("ltx/0000/" + names[2])
			require.NoError(t, err)
			shows()
			after, err := p.Stat("ltx/0000/" + names[2])
			require.NoError(t, err)
			require.Equal(t, before, after, "a file seems to have changed")

			name := ltx.FormatFilename(6, 6)
			names, content[name] = append(names, name), storetest.LTX(t, 6, 6)
			f, err := p.Open("ltx/0000/"+name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
			require.NoError(t, err)
			require.NoError(t, f.Write(content[name]))
			require.NoError(t, f.Close())
			shows()
			content[names[0]] = storetest.LTX(t, 1, 1, storetest.Seed(2))
			require.NoError(t, p.WriteFile("ltx/0000/"+names[0], content[names[0]]))
			require.NoError(t, p.Unlink("ltx/0000/"+names[1]))
			names = append(names[:1], names[2:]...)
			shows()
			require.Len(t, s.Keys(t, bucket, ""), len(names))
			p.Close()
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		})
	}
}

// A store that has remembered its ETags in memory alone, as rclone does for an
// encrypted remote, has none after its restart, and lets no condition on them hold.
// The files are the same, also for who has them open.
func TestETagsForgotten(t *testing.T) {
	t.Parallel()
	s := s3test.MinIO.Shared(t)
	bucket := s.Bucket(t)
	name := ltx.FormatFilename(1, 1)
	path, data := ltxfstest.LevelPath(0, name), storetest.LTX(t, 1, 1, storetest.Commit(2000), storetest.Noise())
	s.Put(t, bucket, "db/0000/"+name, data)
	proxy := s3test.NewProxy(t, s.Endpoint)
	m := ltxfstest.MountWith(t, proxy.URL(bucket, "db"), ltxfstest.MountOptions{Flags: []string{"--freshness=1s", "--cache-size=4MiB"}, Env: s.Env()})
	p := m.Process(t)
	f, err := p.Open(path, unix.O_RDONLY, 0)
	require.NoError(t, err)
	got, err := f.ReadAt(4096, 0)
	require.NoError(t, err)
	require.Equal(t, data[:4096], got)

	none := func(string) string { return `""` }
	proxy.Rewrite(s3test.MapHeader("ETag", none))
	proxy.Rewrite(s3test.EachListed(func(o *s3test.ListedObject) { o.ETag = none(o.ETag) }))
	proxy.Intercept(s3test.On(s3test.HasHeader("If-Match"), s3test.Fail(412, "PreconditionFailed")))
	for off := 4096; off < len(data); off += 1 << 20 {
		got, err := f.ReadAt(min(1<<20, len(data)-off), int64(off))
		require.NoError(t, err, "at %d", off)
		require.Equal(t, ltxfstest.SHA256(data[off:off+len(got)]), ltxfstest.SHA256(got), "at %d", off)
	}
	require.NoError(t, f.Close())
	whole, err := p.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, ltxfstest.SHA256(data), ltxfstest.SHA256(whole))
	p.Close()
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}

// One object that the store refuses to show has the time that is listed, with one warning,
// and the others have their exact times. One that it refuses conditions on is read without.
func TestExactTimesBesideRefusals(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]s3test.Interceptor{
		"archived":         s3test.On(s3test.GetObject, s3test.Fail(403, "InvalidObjectState")),
		"denied":           s3test.Fail(403, "AccessDenied"),
		"another SSE-C":    s3test.Fail(400, "InvalidRequest"),
		"a disabled key":   s3test.On(s3test.GetObject, s3test.Fail(400, "KMS.DisabledException")),
		"fails conditions": s3test.On(s3test.HasHeader("If-Match"), s3test.Fail(409, "ConditionFailed")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := s3test.MinIO.Shared(t)
			bucket := s.Bucket(t)
			for txid := ltx.TXID(1); txid <= 5; txid++ {
				s.Put(t, bucket, "db/0000/"+ltx.FormatFilename(txid, txid), storetest.LTX(t, txid, txid))
			}
			refused, readable := ltx.FormatFilename(3, 3), name == "fails conditions"
			proxy := s3test.NewProxy(t, s.Endpoint)
			proxy.Intercept(s3test.On(s3test.KeyEnds(refused), refusal))
			m := ltxfstest.MountWith(t, proxy.URL(bucket, "db"), ltxfstest.MountOptions{Flags: []string{"--mtime=exact", "--freshness=1s"}, Env: s.Env()})
			p := m.Process(t)
			names, err := p.ReadDir("ltx/0000")
			require.NoError(t, err)
			require.Len(t, names, 5)
			for _, name := range names {
				st, err := p.Stat("ltx/0000/" + name)
				require.NoError(t, err, name)
				want := storetest.DefaultTime
				if name == refused && !readable {
					want = s.Objects(t, bucket, "db/0000/"+name)[0].LastModified.UTC().Truncate(time.Second)
				}
				require.Equal(t, want, st.ModTime, name)
			}
			require.Equal(t, map[bool]int{false: 1}[readable], strings.Count(m.Log(), "level=WARN"), m.Log())
			require.Equal(t, !readable, strings.Contains(m.Log(), refused), m.Log())

			// By name as well, once the listing is too old.
			ltxfstest.Eventually(t, ltxfstest.Timeout, "the store is asked for the file", func() bool {
				_, err := p.Stat("ltx/0000/" + refused)
				require.NoError(t, err)
				return proxy.Counts()[s3test.HeadObject] > 5
			})
		})
	}
}
