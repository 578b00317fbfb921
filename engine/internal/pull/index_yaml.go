package pull

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"sigs.k8s.io/yaml"
)

var errLayout = &badIndex{"it is large, and not laid out as `helm repo index` does, with a line for the name of each chart; " +
	"only small ones can be any YAML"}

// readYAML reads an index line by line. Lines about other charts are passed over,
// each entry of the chart that is looked for is parsed by itself.
func readYAML(from io.Reader, chart string) (*chartIndex, error) {
	scan := &yamlScan{chart: chart, found: new(chartIndex), top: -1, names: -1}
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		part, more, err := lines.ReadLine()
		if errors.Is(err, io.EOF) {
			return scan.found, scan.finish()
		}
		if err != nil {
			return nil, err
		}
		// Before more is read, which overwrites it.
		if err := scan.line(part); err != nil {
			return nil, err
		}
		for more && err == nil {
			if part, more, err = lines.ReadLine(); err == nil {
				err = scan.more(part)
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if err := scan.more([]byte("\n")); err != nil {
			return nil, err
		}
	}
}

// yamlScan is where in an index a scan is. Indentations are -1 until they are known.
type yamlScan struct {
	chart string
	found *chartIndex
	begun bool
	// ended is whether the first document has ended.
	ended bool
	// top is the indentation of apiVersion and entries.
	top       int
	inEntries bool
	// names is the indentation of the charts' names, below entries.
	names int
	// inChart is whether the lines are about the chart that is looked for.
	inChart bool
	// items is the indentation of the dashes of its entries.
	items int
	// keeping is whether text holds an entry that has begun, and is added to.
	keeping bool
	text    bytes.Buffer
}

// line takes a line, or as much of its beginning as fits into the buffer.
func (s *yamlScan) line(line []byte) error {
	if !s.begun {
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	content := bytes.TrimLeft(line, " ")
	switch {
	case s.ended:
		return nil
	case len(bytes.TrimSpace(content)) == 0 || content[0] == '#':
		// They may be part of a text.
		return s.more(line)
	case isMarker(line, "...") || isMarker(line, "---") && s.begun:
		s.ended = true
		return s.finish()
	case isMarker(line, "---"):
		if rest := bytes.TrimSpace(line[3:]); len(rest) > 0 && rest[0] != '#' {
			return errLayout
		}
		s.begun = true
		return nil
	case s.top < 0 && line[0] == '%':
		return nil
	}
	s.begun = true
	return s.content(len(line)-len(content), content, line)
}

// isMarker is whether a line begins or ends a document.
func isMarker(line []byte, marker string) bool {
	rest, is := bytes.CutPrefix(line, []byte(marker))
	return is && (len(rest) == 0 || rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r')
}

// content takes a line that is neither empty nor a comment nor a marker.
func (s *yamlScan) content(indent int, content, line []byte) error {
	if s.top < 0 {
		s.top = indent
	}
	isItem := content[0] == '-' && (len(content) == 1 || strings.ContainsRune(" \t\r", rune(content[1])))
	switch {
	case indent < s.top:
		return errLayout
	case indent == s.top && isItem && !s.inEntries:
		return nil // A list of something else.
	case indent == s.top:
		return s.topLevel(content)
	case !s.inEntries:
		return nil
	case s.names < 0 && !isItem:
		s.names = indent
	case s.names < 0 || indent < s.names:
		return errLayout
	}
	switch {
	case indent == s.names && !isItem:
		return s.name(content)
	case !s.inChart:
		return nil
	case s.items < 0 && isItem:
		s.items = indent
	case s.items < 0 || indent < s.items || indent == s.items && !isItem:
		// The value goes on in another way than as a list of lines with dashes.
		return errLayout
	}
	if indent == s.items {
		if err := s.finish(); err != nil {
			return err
		}
		s.keeping = true
	}
	return s.more(line)
}

// more adds to the entry that has begun, if one has.
func (s *yamlScan) more(part []byte) error {
	if !s.keeping {
		return nil
	}
	if s.text.Len()+len(part) > maxParsed {
		return bad("an entry of chart %s has more than %d KiB", s.chart, maxParsed>>10)
	}
	s.text.Write(part)
	return nil
}

// finish parses the entry that has ended.
func (s *yamlScan) finish() error {
	if !s.keeping {
		return nil
	}
	var entries []*indexEntry
	err := yaml.Unmarshal(s.text.Bytes(), &entries)
	s.keeping = false
	s.text.Reset()
	if err != nil {
		return bad("an entry of chart %s is no such entry", s.chart)
	}
	return s.found.add(s.chart, entries...)
}

// topLevel takes a line with a key of the index itself.
func (s *yamlScan) topLevel(content []byte) error {
	if err := s.finish(); err != nil {
		return err
	}
	s.inEntries, s.inChart = false, false
	key, rest, is := splitKey(content)
	if !is {
		return errNoIndex
	}
	switch key {
	case "apiVersion":
		var value struct{ APIVersion string }
		if yaml.Unmarshal([]byte("apiVersion:"+rest), &value) != nil {
			return errNoIndex
		}
		s.found.apiVersion = value.APIVersion
	case "entries":
		s.found.there, s.found.entries = false, nil
		s.names = -1
		var err error
		s.inEntries, err = isBelow(rest)
		return err
	}
	return nil
}

// name takes a line with the name of a chart.
func (s *yamlScan) name(content []byte) error {
	if err := s.finish(); err != nil {
		return err
	}
	name, rest, is := splitKey(content)
	if !is {
		return errLayout
	}
	s.inChart, s.items = false, -1
	if name != s.chart {
		return nil
	}
	s.found.begin()
	var err error
	s.inChart, err = isBelow(rest)
	return err
}

// isBelow is whether the value of a key is on the lines below it, where otherwise
// there may only be an empty one.
func isBelow(rest string) (bool, error) {
	rest, _, _ = strings.Cut(" "+rest, " #")
	switch strings.TrimSpace(rest) {
	case "":
		return true, nil
	case "{}", "[]", "null", "~":
		return false, nil
	default:
		return false, errLayout
	}
}

// splitKey splits a line into a key and what follows its colon.
func splitKey(line []byte) (key, rest string, is bool) {
	text := strings.TrimRight(string(line), " \t\r")
	switch text[0] {
	case '"':
		decoder := json.NewDecoder(strings.NewReader(text))
		if decoder.Decode(&key) != nil {
			return "", "", false
		}
		rest = text[decoder.InputOffset():]
	case '\'':
		at := 1
		for at < len(text) && (text[at] != '\'' || strings.HasPrefix(text[at:], "''")) {
			if text[at] == '\'' {
				at++
			}
			at++
		}
		if at >= len(text) {
			return "", "", false
		}
		key, rest = strings.ReplaceAll(text[1:at], "''", "'"), text[at+1:]
	case '-', '?', ':', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '%', '@', '`':
		return "", "", false
	default:
		at := strings.Index(text+" ", ": ")
		if at < 0 || strings.Contains(text[:at], " #") {
			return "", "", false
		}
		key, rest = strings.TrimRight(text[:at], " \t"), text[at:]
	}
	rest, is = strings.CutPrefix(strings.TrimLeft(rest, " \t"), ":")
	return key, rest, is
}
