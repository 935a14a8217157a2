package s3test

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Listing is an answer to ListObjects, of either version.
type Listing struct {
	XMLName               xml.Name       `xml:"ListBucketResult"`
	Prefix                Text           `xml:"Prefix"`
	EncodingType          string         `xml:"EncodingType,omitempty"` // urlEncoding or none
	IsTruncated           bool           `xml:"IsTruncated"`
	KeyCount              string         `xml:"KeyCount,omitempty"`
	ContinuationToken     string         `xml:"ContinuationToken,omitempty"`
	NextContinuationToken string         `xml:"NextContinuationToken,omitempty"`
	StartAfter            string         `xml:"StartAfter,omitempty"`
	Contents              []ListedObject `xml:"Contents"`
	Rest                  []element      `xml:",any"`
}

// ListedObject is an object in a Listing.
type ListedObject struct {
	Key          Text      `xml:"Key"` // decoded, whatever the listing's EncodingType is
	LastModified string    `xml:"LastModified,omitempty"`
	ETag         string    `xml:"ETag,omitempty"`
	Size         int64     `xml:"Size"`
	Rest         []element `xml:",any"`
}

// element is one that stays as it is.
type element struct {
	XMLName xml.Name
	Inner   string `xml:",innerxml"`
}

// MapListing changes the answers to ListObjects.
func MapListing(f func(l *Listing)) Rewriter {
	return AnswersTo(ListObjects, func(resp *http.Response) error {
		return MapBody(func(body []byte) ([]byte, error) {
			l := &Listing{}
			if err := xml.Unmarshal(body, l); err != nil {
				return nil, err
			}
			if err := l.decode(); err != nil {
				return nil, err
			}
			f(l)
			l.encode()
			body, err := xml.Marshal(l)
			return append([]byte(xml.Header), body...), err
		})(resp)
	})
}

const urlEncoding = "url"

// decode makes the keys plain.
func (l *Listing) decode() error {
	if l.EncodingType != urlEncoding {
		return nil
	}
	for _, text := range l.texts() {
		plain, err := url.QueryUnescape(string(*text))
		if err != nil {
			return err
		}
		*text = Text(plain)
	}
	return nil
}

func (l *Listing) encode() {
	if l.EncodingType != urlEncoding {
		return
	}
	for _, text := range l.texts() {
		*text = Text(strings.ReplaceAll(url.QueryEscape(string(*text)), "%2F", "/"))
	}
}

// texts are what a listing's EncodingType concerns.
func (l *Listing) texts() []*Text {
	texts := []*Text{&l.Prefix}
	for i := range l.Contents {
		texts = append(texts, &l.Contents[i].Key)
	}
	return texts
}

// EachListed changes every object in the answers to ListObjects.
func EachListed(f func(o *ListedObject)) Rewriter {
	return MapListing(func(l *Listing) {
		for i := range l.Contents {
			f(&l.Contents[i])
		}
	})
}

// AddListed adds an object to every page of a listing, such as one whose key XML
// can't hold: it is below the listing's prefix, and the last of the page.
func AddListed(name string) Rewriter {
	return MapListing(func(l *Listing) {
		l.Contents = append(l.Contents, ListedObject{
			Key:          l.Prefix + Text(name),
			LastModified: "2024-01-01T00:00:00.000Z",
			ETag:         `"d41d8cd98f00b204e9800998ecf8427e"`,
		})
	})
}

// Text is text that may hold characters which XML 1.0 can't. AWS writes these as
// references, which no parser takes.
type Text string

// MarshalXML implements xml.Marshaler.
func (t Text) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	var b strings.Builder
	for _, r := range string(t) {
		if r < ' ' {
			fmt.Fprintf(&b, "&#x%x;", r)
		} else if err := xml.EscapeText(&b, []byte(string(r))); err != nil {
			return err
		}
	}
	return e.EncodeElement(element{Inner: b.String()}, start)
}

// ListAsV1 makes a server answer ListObjectsV2 as one that knows the first version
// alone: it ignores what goes on with a listing, and gives no token. A page of either
// version has at most some keys.
func (p *Proxy) ListAsV1(s *Server, most int) (remove func()) {
	again := p.Alter(func(r *http.Request) {
		if !ListObjects.Match(r) {
			return
		}
		query := r.URL.Query()
		if query.Has("list-type") {
			query.Del("start-after")
			query.Del("continuation-token")
		}
		query.Set("max-keys", strconv.Itoa(most))
		r.URL.RawQuery = query.Encode()
		s.Sign(r)
	})
	plain := p.Rewrite(MapListing(func(l *Listing) {
		l.KeyCount, l.ContinuationToken, l.NextContinuationToken, l.StartAfter = "", "", "", ""
	}))
	return func() { again(); plain() }
}
