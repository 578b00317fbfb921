// Package testchart makes archives of charts for the engine's tests.
package testchart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"maps"
	"slices"
)

// Files are a chart's files by name.
type Files map[string]string

// Minimal is a chart that can be rendered, with more files or other ones.
func Minimal(more Files) Files {
	files := Files{"Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.4.2\n"}
	maps.Copy(files, more)
	return files
}

// Pack makes an archive, with the files in a folder unless that is empty.
func (f Files) Pack(folder string) []byte {
	var headers []tar.Header
	var data []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		full := name
		if folder != "" {
			full = folder + "/" + name
		}
		headers = append(headers, tar.Header{Name: full, Mode: 0o644, Size: int64(len(f[name])), Typeflag: tar.TypeReg})
		data = append(data, f[name])
	}
	return Archive(headers, data)
}

// Archive makes an archive of any entries, also of such as no tool would write.
func Archive(headers []tar.Header, data []string) []byte {
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	writer := tar.NewWriter(zipped)
	for i := range headers {
		if err := writer.WriteHeader(&headers[i]); err != nil {
			panic(err)
		}
		if _, err := writer.Write([]byte(data[i])); err != nil {
			panic(err)
		}
	}
	if err := writer.Close(); err != nil {
		panic(err)
	}
	if err := zipped.Close(); err != nil {
		panic(err)
	}
	return packed.Bytes()
}
