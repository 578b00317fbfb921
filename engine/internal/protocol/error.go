package protocol

import (
	"fmt"
	"unicode/utf8"
)

// Kind says what went wrong, for programs.
type Kind string

// What can be wrong with a message, a chart, its values or its source.
const (
	BadRequest              Kind = "BadRequest"
	InvalidChart            Kind = "InvalidChart"
	MissingDependencies     Kind = "MissingDependencies"
	IncompatibleKubeVersion Kind = "IncompatibleKubeVersion"
	NotInstallable          Kind = "NotInstallable"
	InvalidValues           Kind = "InvalidValues"
	SchemaViolation         Kind = "SchemaViolation"
	TemplateError           Kind = "TemplateError"
	NotYaml                 Kind = "NotYaml"
	LookupFailed            Kind = "Lookup"

	ChartNotFound  Kind = "ChartNotFound"
	Unauthorized   Kind = "Unauthorized"
	DigestMismatch Kind = "DigestMismatch"
	TooLarge       Kind = "TooLarge"
	Refused        Kind = "Refused"
	InvalidIndex   Kind = "InvalidIndex"
	Unreachable    Kind = "Unreachable"
	NotVerified    Kind = "NotVerified"
)

// Error is the engine's answer to a request that it cannot fulfil.
type Error struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"`
	// Transient is set by pull alone: whether waiting may help.
	Transient *bool `json:"transient,omitempty"`
}

func (e *Error) Error() string { return string(e.Kind) + ": " + e.Message }

// Errorf makes an Error whose message is cut to what a status can hold.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: Cut(fmt.Sprintf(format, args...))}
}

// maxMessage bounds a message: it ends up in the status of an object.
const maxMessage = 4096

// Cut shortens a text to the bound of messages, between characters. The middle goes:
// a template's error begins with the place and ends with the cause.
func Cut(text string) string {
	const gap = " … "
	if len(text) <= maxMessage {
		return text
	}
	head := (maxMessage - len(gap)) / 2
	tail := len(text) - head
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return text[:head] + gap + text[tail:]
}
