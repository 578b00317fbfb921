package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMessages(t *testing.T) {
	const next = "{\"v\":1,\"found\":null}\n"
	for line, words := range map[string]string{
		"":                               "not a message",
		"hello":                          "not a message",
		"[]":                             "not a message",
		`{"v":1,"rander":{}}`:            `unknown field "rander"`,
		`{"v":1,"render":{"crds":1}}`:    `unknown field "crds"`,
		`{"v":1,"render":{"path":1}}`:    "path",
		`{"v":1,"render":{"chart":"%"}}`: "base64",
		`{"v":1} {"v":1}`:                "more than one",
		`{"render":{}}`:                  "v is 0",
		`{"v":2,"render":{}}`:            "v is 2, this engine speaks version 1",
		`{"v":2,"new":{}}`:               "v is 2",
		`{"v":1,"x":"` + strings.Repeat("x", MaxLine) + `"}`: "larger than 64 MiB",
	} {
		conn := NewConn(strings.NewReader(line+"\n"+next), io.Discard)
		_, err := conn.Read()
		var problem *Error
		if !errors.As(err, &problem) || problem.Kind != BadRequest || !strings.Contains(problem.Message, words) {
			t.Errorf("%.40q: %v, wanted %q", line, err, words)
		}
		// The next message is not lost.
		if message, err := conn.Read(); err != nil || string(message.Found) != "null" {
			t.Errorf("after %.40q: %+v %v", line, message, err)
		}
		if _, err := conn.Read(); !errors.Is(err, io.EOF) {
			t.Errorf("after %.40q: %v, wanted the end", line, err)
		}
	}
	if _, err := NewConn(strings.NewReader(`{"v":1`), io.Discard).Read(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a message: %v", err)
	}
}

func TestWrite(t *testing.T) {
	var out bytes.Buffer
	if err := NewConn(nil, &out).Write(&Out{Error: Errorf(BadRequest, "<%s>", "é")}); err != nil {
		t.Fatal(err)
	}
	if out.String() != `{"v":1,"error":{"kind":"BadRequest","message":"<é>"}}`+"\n" {
		t.Errorf("%s", out.String())
	}
}

func TestCut(t *testing.T) {
	if text := strings.Repeat("x", maxMessage); Cut(text) != text {
		t.Error("a text of the largest size was cut")
	}
	for length := range 4 {
		text := "begin" + strings.Repeat("x", length) + strings.Repeat("é", maxMessage) + "end"
		cut := Cut(text)
		if len(cut) > maxMessage || len(cut) < maxMessage-4 || !utf8.ValidString(cut) ||
			!strings.HasPrefix(cut, "begin") || !strings.HasSuffix(cut, "end") {
			t.Errorf("%d bytes: %s", len(cut), cut)
		}
	}
}

func TestAChartInAMessage(t *testing.T) {
	for _, chart := range [][]byte{nil, {}, []byte("a"), bytes.Repeat([]byte("chart"), 100_001)} {
		pulled := &Pulled{Name: "shop<\"", Version: "1", Digest: "sha256:1", Chart: chart}
		var written bytes.Buffer
		if err := NewConn(nil, &written).Write(&Out{Pulled: pulled}); err != nil {
			t.Fatal(err)
		}
		var read Out
		if err := json.Unmarshal(written.Bytes(), &read); err != nil || !reflect.DeepEqual(read.Pulled, pulled) ||
			read.V != Version || bytes.Count(written.Bytes(), []byte("\n")) != 1 || !bytes.HasSuffix(written.Bytes(), []byte("\n")) {
			t.Errorf("%d bytes: %+v %v", len(chart), read, err)
		}
	}
	failing := NewConn(nil, failingWriter{})
	if err := failing.Write(&Out{Pulled: &Pulled{Chart: make([]byte, 1<<20)}}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a closed pipe: %v", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
