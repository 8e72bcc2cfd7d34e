// What test_http_clients.py asks of every client, by net/http. Its argument is the daemon's URL.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

var client = http.Client{
	Timeout:   20 * time.Second,
	Transport: &http.Transport{ExpectContinueTimeout: 20 * time.Second},
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

// Returns the body and the ETag.
func ask(status int, method, key string, body io.Reader, fields ...string) (string, string) {
	request, err := http.NewRequest(method, os.Args[1]+"/v1/cache/1/"+key, body)
	if err != nil {
		fail("%s %s: %v", method, key, err)
	}
	for i := 0; i < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
	}
	answer, err := client.Do(request)
	if err != nil {
		fail("%s %s: %v", method, key, err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != status {
		fail("%s %s: %s %v %.200s", method, key, answer.Status, err, content)
	}
	if method == "HEAD" && answer.ContentLength != 5 {
		fail("HEAD %s: length %d", key, answer.ContentLength)
	}
	return string(content), answer.Header.Get("ETag")
}

func main() {
	ask(200, "PUT", "plain", strings.NewReader("hello"))
	value, etag := ask(200, "GET", "plain", nil)
	if value != "hello" {
		fail("GET plain: %q", value)
	}
	ask(304, "GET", "plain", nil, "If-None-Match", etag)
	ask(200, "HEAD", "plain", nil)
	// A reader of unknown length is sent in chunks.
	ask(200, "PUT", "chunked", struct{ io.Reader }{strings.NewReader("in parts")})
	ask(200, "PUT", "expected", bytes.NewReader(bytes.Repeat([]byte("x"), 100000)),
		"Expect", "100-continue")
	ask(200, "DELETE", "plain", nil)
	ask(404, "GET", "plain", nil)
}
