package pull

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode"

	"sigs.k8s.io/yaml"
)

const (
	// maxIndex bounds a repository's index; large public ones have about 20 MiB.
	maxIndex = 64 << 20
	// maxParsed bounds what of an index is made into a tree, which takes up to a
	// hundred times the text: all of a small one, an entry of a large one.
	maxParsed = 512 << 10
	// maxVersions bounds how many versions of one chart are kept.
	maxVersions = 20_000
)

// chartIndex is what an index says of one chart.
type chartIndex struct {
	apiVersion string
	// there is whether the index names the chart.
	there   bool
	entries []*indexEntry
}

// index is as much of a repository's index.yaml as a pull needs. Helm's own reader
// takes files only, and brings a runtime for plugins with it.
type index struct {
	APIVersion string                   `json:"apiVersion"`
	Entries    map[string][]*indexEntry `json:"entries"`
}

type indexEntry struct {
	Version string   `json:"version"`
	URLs    []string `json:"urls"`
	Digest  string   `json:"digest"`
}

// badIndex is what is wrong with an index, in words of our own.
type badIndex struct{ why string }

func (b *badIndex) Error() string { return b.why }

func bad(format string, args ...any) error { return &badIndex{fmt.Sprintf(format, args...)} }

var errNoIndex = &badIndex{"it is no index of charts; the URL is to be that of the folder that holds index.yaml"}

// readIndex reads what an index says of a chart. A small index can be any YAML. A
// large one is read as it comes, without the parts about other charts, and has to be
// JSON or laid out as `helm repo index` does. The error is a *badIndex or the
// reader's.
func readIndex(from io.Reader, chart string) (*chartIndex, error) {
	start, err := io.ReadAll(io.LimitReader(from, maxParsed))
	if err != nil {
		return nil, err
	}
	var found *chartIndex
	switch trimmed := bytes.TrimLeftFunc(start, unicode.IsSpace); {
	case len(start) < maxParsed:
		found, err = readSmall(start, chart)
	case bytes.HasPrefix(trimmed, []byte("{")):
		found, err = readJSON(io.MultiReader(bytes.NewReader(start), from), chart)
	default:
		found, err = readYAML(io.MultiReader(bytes.NewReader(start), from), chart)
	}
	if err == nil && found.apiVersion == "" {
		err = errNoIndex
	}
	return found, err
}

// readSmall reads an index as a whole.
func readSmall(data []byte, chart string) (*chartIndex, error) {
	var all index
	var err error
	if json.Valid(data) {
		err = json.Unmarshal(data, &all)
	} else {
		err = yaml.Unmarshal(data, &all)
	}
	if err != nil {
		// Its text would repeat the server's.
		return nil, errNoIndex
	}
	found := &chartIndex{apiVersion: all.APIVersion}
	found.entries, found.there = all.Entries[chart]
	if len(found.entries) > maxVersions {
		return nil, tooManyVersions(chart)
	}
	return found, nil
}

func tooManyVersions(chart string) error {
	return bad("it has more than %d versions of chart %s", maxVersions, chart)
}

// begin is called where an index names the chart that is looked for. If it does so
// again, the last counts, as for parsers of the whole.
func (c *chartIndex) begin() { c.there, c.entries = true, nil }

// add takes entries of the chart that is looked for.
func (c *chartIndex) add(chart string, entries ...*indexEntry) error {
	if len(c.entries)+len(entries) > maxVersions {
		return tooManyVersions(chart)
	}
	c.entries = append(c.entries, entries...)
	return nil
}

// readJSON reads an index in JSON, token by token.
func readJSON(from io.Reader, chart string) (*chartIndex, error) {
	source := &jsonSource{rationed: rationed{from: from}}
	source.decoder = json.NewDecoder(&source.rationed)
	found := new(chartIndex)
	err := source.object(func(key string) error {
		switch key {
		case "apiVersion":
			return source.decode(&found.apiVersion)
		case "entries":
			found.there, found.entries = false, nil
			return source.object(func(name string) error {
				if name != chart {
					return source.skip()
				}
				found.begin()
				return source.list(func() error {
					var entry *indexEntry
					if err := source.decode(&entry); err != nil {
						return err
					}
					return found.add(chart, entry)
				})
			})
		default:
			return source.skip()
		}
	})
	if err == nil {
		// Nothing may follow; and all is read, so that a broken connection shows.
		if _, err = source.token(); errors.Is(err, io.EOF) {
			return found, nil
		}
	}
	switch {
	case source.rationed.err != nil && !errors.Is(source.rationed.err, io.EOF):
		return nil, source.rationed.err
	case errors.As(err, new(*badIndex)):
		return nil, err
	default:
		return nil, errNoIndex
	}
}

// jsonSource walks through JSON without building a tree of it.
type jsonSource struct {
	rationed rationed
	decoder  *json.Decoder
}

func (s *jsonSource) token() (json.Token, error) {
	s.rationed.read = 0
	return s.decoder.Token()
}

func (s *jsonSource) decode(into any) error {
	s.rationed.read = 0
	return s.decoder.Decode(into)
}

// object calls a function for each key, which has to take the value. There may be
// null in its place.
func (s *jsonSource) object(each func(key string) error) error {
	return s.inside('{', func() error {
		key, err := s.token()
		if err != nil {
			return err
		}
		text, isText := key.(string)
		if !isText {
			return errNoIndex
		}
		return each(text)
	})
}

func (s *jsonSource) list(each func() error) error { return s.inside('[', each) }

func (s *jsonSource) inside(open json.Delim, each func() error) error {
	token, err := s.token()
	if err != nil || token == nil {
		return err
	}
	if token != open {
		return errNoIndex
	}
	for s.more() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err = s.token()
	return err
}

func (s *jsonSource) more() bool {
	s.rationed.read = 0
	return s.decoder.More()
}

// skip passes over a value.
func (s *jsonSource) skip() error {
	for depth := 0; ; {
		token, err := s.token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// rationed ends with an error if too much is read for one token: the decoder keeps
// it all.
type rationed struct {
	from io.Reader
	read int
	// err is what the reader said, which the decoder may not repeat.
	err error
}

func (r *rationed) Read(into []byte) (int, error) {
	if r.read > maxParsed {
		return 0, bad("an entry of it has more than %d KiB", maxParsed>>10)
	}
	count, err := r.from.Read(into)
	r.read += count
	if err != nil {
		r.err = err
	}
	return count, err
}
