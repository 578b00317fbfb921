package protocol

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxLine bounds a message. The largest holds a chart in base64 and the values:
// Kubernetes objects bound the latter, the operator's limit on pulls the former.
const MaxLine = 64 << 20

// Conn reads and writes messages. It is not for concurrent use: the engine does
// one thing at a time.
type Conn struct {
	in  *bufio.Reader
	out *bufio.Writer
}

// NewConn makes a connection of two streams.
func NewConn(in io.Reader, out io.Writer) *Conn {
	return &Conn{in: bufio.NewReaderSize(in, 64<<10), out: bufio.NewWriterSize(out, 64<<10)}
}

// Read returns the next message. The error is an *Error if the line was read but
// makes no sense, and the connection can go on; io.EOF at the end; or what the
// stream said, after which it cannot.
func (c *Conn) Read() (*In, error) {
	line, err := c.line()
	if err != nil {
		return nil, err
	}
	message := new(In)
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	decodeErr := decoder.Decode(message)
	if decodeErr == nil && decoder.More() {
		decodeErr = errors.New("more than one JSON value on a line")
	}
	if decodeErr != nil {
		// Another version may well have other fields: say so rather than
		// complain of a field.
		var version struct {
			V int `json:"v"`
		}
		if json.Unmarshal(line, &version) == nil && version.V != Version {
			return nil, wrongVersion(version.V)
		}
		return nil, Errorf(BadRequest, "not a message: %s", decodeErr)
	}
	if message.V != Version {
		return nil, wrongVersion(message.V)
	}
	return message, nil
}

func wrongVersion(version int) *Error {
	return Errorf(BadRequest, "the message's v is %d, this engine speaks version %d", version, Version)
}

// line reads up to a line feed. A line that is too long is skipped to its end,
// so that the next message is not read from its middle.
func (c *Conn) line() ([]byte, error) {
	var line []byte
	tooLong := false
	for {
		part, err := c.in.ReadSlice('\n')
		if !tooLong && len(line)+len(part) > MaxLine {
			tooLong, line = true, nil
		}
		if !tooLong {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) == 0 && !tooLong:
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			// The other end died in the middle of a message.
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, fmt.Errorf("reading a message: %w", err)
		case tooLong:
			return nil, Errorf(BadRequest, "the message is larger than %d MiB", MaxLine>>20)
		default:
			return line, nil
		}
	}
}

// Write sends a message.
func (c *Conn) Write(message *Out) error {
	message.V = Version
	if err := c.encode(message); err != nil {
		return fmt.Errorf("writing a message: %w", err)
	}
	if err := c.out.Flush(); err != nil {
		return fmt.Errorf("writing a message: %w", err)
	}
	return nil
}

// encode puts a message into the buffer. A fetched chart is written as it is
// encoded: the encoder would hold all of it, and a copy while it grows.
func (c *Conn) encode(message *Out) error {
	var chart []byte
	if message.Pulled != nil && message.Pulled.Chart != nil {
		chart = message.Pulled.Chart
		without := *message.Pulled
		without.Chart = nil
		message = &Out{V: message.V, Pulled: &without}
	}
	if chart == nil {
		encoder := json.NewEncoder(c.out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(message)
	}
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	// The chart is the last field of the last object.
	const none = "null}}"
	head, ok := bytes.CutSuffix(text, []byte(none))
	if !ok {
		return errors.New("a fetched chart does not end its message")
	}
	_, _ = c.out.Write(head)
	_ = c.out.WriteByte('"')
	encoder := base64.NewEncoder(base64.StdEncoding, c.out)
	_, _ = encoder.Write(chart)
	_ = encoder.Close()
	// What the stream said to any of these it says again.
	_, err = c.out.WriteString("\"}}\n")
	return err
}
