package s3test

import (
	"encoding/xml"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// DeleteNothing answers deletions, of one object and of many, as if they were
// done, and does nothing.
func DeleteNothing(w http.ResponseWriter, r *http.Request) bool {
	switch OperationOf(r) {
	case DeleteObject:
		w.WriteHeader(http.StatusNoContent)
		return true
	case DeleteObjects:
		var result deleteResult
		for _, key := range deletedKeys(r) {
			result.Deleted = append(result.Deleted, deletedKey{Key: key})
		}
		writeXML(w, http.StatusOK, result)
		return true
	default:
		return false
	}
}

// DeleteErrors answers deletions of many objects with 200, and in it an error for
// each key for which code returns one. It deletes the others in the server.
func DeleteErrors(s *Server, code func(key string) string) Interceptor {
	return On(DeleteObjects, func(w http.ResponseWriter, r *http.Request) bool {
		bucket, _ := splitPath(r)
		var result deleteResult
		for _, key := range deletedKeys(r) {
			if c := code(key); c != "" {
				result.Errors = append(result.Errors, deleteError{Key: key, Code: c, Message: "the test wants it so"})
				continue
			}
			if _, err := s.admin.DeleteObject(r.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
				result.Errors = append(result.Errors, deleteError{Key: key, Code: "InternalError", Message: err.Error()})
				continue
			}
			result.Deleted = append(result.Deleted, deletedKey{Key: key})
		}
		writeXML(w, http.StatusOK, result)
		return true
	})
}

type deleteResult struct {
	XMLName xml.Name      `xml:"DeleteResult"`
	Deleted []deletedKey  `xml:"Deleted"`
	Errors  []deleteError `xml:"Error"`
}

type deletedKey struct{ Key string }

type deleteError struct{ Key, Code, Message string }

// deletedKeys are the keys in a request to delete many.
func deletedKeys(r *http.Request) []string {
	var request struct {
		Objects []deletedKey `xml:"Object"`
	}
	if err := xml.NewDecoder(r.Body).Decode(&request); err != nil {
		return nil
	}
	var keys []string
	for _, o := range request.Objects {
		keys = append(keys, o.Key)
	}
	return keys
}
