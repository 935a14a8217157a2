package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
)

// object is what the SDK alone works on: an object, or the objects whose keys
// begin with Key.
type object struct {
	Endpoint, Region     string
	AccessKey, SecretKey string
	Bucket, Key          string
	Transfer             transfer
}

// transfer is how an object is read: in ranges, several at a time.
type transfer struct {
	Part   int64 // bytes of a range
	AtOnce int
}

func (t transfer) String() string {
	return fmt.Sprintf("%d parts of %d MiB at a time", t.AtOnce, t.Part>>20)
}

// randomBlock is what the SDK alone gets where others read 4 KiB at random.
const randomBlock = 128 << 10

func (o *object) client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &o.Endpoint,
		UsePathStyle: true,
		Region:       o.Region,
		Credentials:  credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey, ""),
		HTTPClient: &http.Client{Transport: &http.Transport{
			DisableCompression: true, MaxIdleConnsPerHost: 64, ReadBufferSize: 64 << 10,
		}},
		Retryer:                    aws.NopRetryer{},
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}

func (o *object) size() (int64, error) {
	head, err := o.client().HeadObject(context.Background(), &s3.HeadObjectInput{Bucket: &o.Bucket, Key: &o.Key})
	if err != nil {
		return 0, err
	}
	return aws.ToInt64(head.ContentLength), nil
}

// read reads the object into memory.
func (o *object) read() (result outcome, err error) {
	size, err := o.size()
	if err != nil {
		return result, err
	}
	client := o.client()
	parts := make(chan int64)
	gets, ctx := errgroup.WithContext(context.Background())
	began := time.Now()
	gets.Go(func() error {
		defer close(parts)
		for off := int64(0); off < size; off += o.Transfer.Part {
			select {
			case parts <- off:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range o.Transfer.AtOnce {
		gets.Go(func() error {
			buf := make([]byte, o.Transfer.Part)
			for off := range parts {
				if err := o.get(ctx, client, buf[:min(o.Transfer.Part, size-off)], off); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = gets.Wait()
	return outcome{Seconds: time.Since(began).Seconds(), Bytes: size}, err
}

func (o *object) get(ctx context.Context, client *s3.Client, buf []byte, off int64) error {
	answer, err := client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &o.Bucket, Key: &o.Key, Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+int64(len(buf))-1)),
	})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.ReadFull(answer.Body, buf)
	return err
}

// blockReader gets the block around what is read.
func (o *object) blockReader() func(buf []byte, off int64) error {
	client := o.client()
	return func(_ []byte, off int64) error {
		return o.get(context.Background(), client, make([]byte, randomBlock), off/randomBlock*randomBlock)
	}
}

// list lists the objects.
func (o *object) list() (result outcome, err error) {
	client := o.client()
	began := time.Now()
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &o.Bucket, Prefix: &o.Key})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			return result, err
		}
		result.Entries += len(page.Contents)
	}
	result.Seconds = time.Since(began).Seconds()
	return result, nil
}

// tune finds how the SDK alone reads an object fastest.
func (w *world) tune(o object) (best transfer, err error) {
	if best, ok := w.tuned[o.Endpoint]; ok {
		return best, nil
	}
	fastest := 0.0
	for _, atOnce := range []int{4, 8, 16} {
		for _, part := range []int64{1 << 20, 4 << 20, 8 << 20} {
			o.Transfer = transfer{Part: part, AtOnce: atOnce}
			took, err := w.do(job{Kind: "read", Object: &o}, nil, nil)
			if err != nil {
				return best, err
			}
			if fastest == 0 || took.Seconds < fastest {
				best, fastest = o.Transfer, took.Seconds
			}
		}
	}
	w.tuned[o.Endpoint] = best
	return best, nil
}
