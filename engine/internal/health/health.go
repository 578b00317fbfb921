// Package health evaluates the expressions of health checks over objects.
//
// Expressions are CEL, as in Flux's healthCheckExprs: the variables are the top-level fields of the
// object. They are programs of a tenant, so that each has a limit of its own, and a request has one
// for all of them. What the limits do not foresee ends with the process.
package health

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"k8s.io/apimachinery/pkg/util/json"

	"releaselifecycle.dev/engine/internal/protocol"
)

const (
	// maxCost is the limit of one expression over one object, in CEL's units: ten thousand items can be
	// compared, in a tenth of a second.
	maxCost = 100_000
	// maxTotalCost is the limit of a request.
	maxTotalCost = 1_000_000
	// maxTime ends what costs little and takes long.
	maxTime = 500 * time.Millisecond
	// slowCost is taken from the limit of the request for each expression that took too long.
	slowCost = maxTotalCost / 4
	// maxLength is the length of an expression, which the operator's schema has, too.
	maxLength = 2048
	// maxInvalid bounds the text that is reported of an expression that does not compile.
	maxInvalid = 600
)

// Evaluate compiles all checks and evaluates them over the objects.
func Evaluate(request *protocol.Evaluate) (*protocol.Evaluated, error) {
	compiler, err := newCompiler()
	if err != nil {
		return nil, err
	}
	answer := &protocol.Evaluated{Invalid: []protocol.Invalid{}, Verdicts: []protocol.Verdict{}}
	checks := make([]check, len(request.Checks))
	for i, expressions := range request.Checks {
		for _, it := range []struct {
			verdict protocol.VerdictKind
			field   string
			text    string
		}{
			// Flux's order.
			{protocol.InProgress, "inProgress", expressions.InProgress},
			{protocol.Failed, "failed", expressions.Failed},
			{protocol.Current, "current", expressions.Current},
		} {
			if it.text == "" {
				continue
			}
			program, err := compiler.compile(it.text)
			if err != nil {
				message := shorten(err.Error())
				answer.Invalid = append(answer.Invalid, protocol.Invalid{Check: i, Field: it.field, Message: message})
				checks[i].invalid = &protocol.Verdict{Verdict: protocol.InProgress, Field: it.field, Message: message}
				continue
			}
			checks[i].expressions = append(checks[i].expressions, expression{it.verdict, it.field, it.text, program})
		}
	}
	budget := uint64(maxTotalCost)
	for _, asked := range request.Objects {
		if asked.Check < 0 || asked.Check >= len(checks) {
			return nil, protocol.Errorf(protocol.BadRequest, "evaluate: there is no check %d", asked.Check)
		}
		var object map[string]any
		// Whole numbers stay such: as floating-point numbers they could not be added to one.
		if err := json.Unmarshal(asked.Object, &object); err != nil || object == nil {
			return nil, protocol.Errorf(protocol.BadRequest, "evaluate: an object is not a JSON object")
		}
		answer.Verdicts = append(answer.Verdicts, checks[asked.Check].evaluate(object, &budget))
	}
	return answer, nil
}

type check struct {
	expressions []expression
	// invalid is the verdict if one of them does not compile.
	invalid *protocol.Verdict
}

type expression struct {
	verdict protocol.VerdictKind
	field   string
	text    string
	program cel.Program
}

// evaluate returns the verdict of the first expression that is true. One that ends with an error
// ends the evaluation, as in Flux: the object is not ready yet.
func (c *check) evaluate(object map[string]any, budget *uint64) protocol.Verdict {
	if c.invalid != nil {
		return *c.invalid
	}
	for _, it := range c.expressions {
		is, err := it.isTrue(object, budget)
		var late *tooLate
		switch {
		case errors.As(err, &late):
			return protocol.Verdict{Verdict: protocol.Unknown, Field: it.field, Message: err.Error()}
		case err != nil:
			return protocol.Verdict{Verdict: protocol.InProgress, Field: it.field, Message: err.Error()}
		}
		if is {
			return protocol.Verdict{Verdict: it.verdict, Field: it.field}
		}
	}
	return protocol.Verdict{Verdict: protocol.InProgress, Field: "current"}
}

func (e *expression) isTrue(object map[string]any, budget *uint64) (bool, error) {
	if *budget == 0 {
		return false, &tooLate{"the health checks of other objects have used up the cost limit"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	value, details, err := e.program.ContextEval(ctx, object)
	if cost := details.ActualCost(); cost != nil {
		*budget -= min(*cost, *budget)
	}
	if ctx.Err() != nil {
		*budget -= min(slowCost, *budget)
		return false, &tooLate{"it takes more than half a second"}
	}
	if err != nil {
		return false, e.told(err)
	}
	is, ok := value.(types.Bool)
	if !ok {
		return false, errors.New("is not a bool")
	}
	return bool(is), nil
}

// tooLate is an error that depends on the time and on other objects.
type tooLate struct{ text string }

func (e *tooLate) Error() string { return e.text }

// causes are the errors of CEL, without what they quote: that may be a value of the object.
var causes = []struct{ words, told string }{
	{"cost limit exceeded", "it exceeds the cost limit"},
	{"no such key", "no such key"},
	{"no such attribute", "no such attribute"},
	{"no such overload", "no such overload: the types do not fit"},
	{"index out of", "index out of range"},
	{"divide by zero", "division by zero"},
	{"division by zero", "division by zero"},
	{"modulus by zero", "modulus by zero"},
	{"overflow", "integer overflow"},
	{"conversion error", "a value cannot be converted"},
	{"strconv", "a value cannot be converted"},
	{"parsing time", "a value is not a time"},
	{"duration", "a value is not a duration"},
	{"regexp", "a regular expression cannot be parsed"},
	{"unsupported", "the types do not fit"},
}

// name is what CEL says is missing.
var name = regexp.MustCompile(`no such (?:key|attribute\(s\)|attribute): ([A-Za-z0-9_.]+)$`)

// told returns the error without any value of the object. What is missing is named if the
// expression itself names it.
func (e *expression) told(err error) error {
	text := err.Error()
	for _, cause := range causes {
		if !strings.Contains(text, cause.words) {
			continue
		}
		if found := name.FindStringSubmatch(text); found != nil && strings.Contains(e.text, found[1]) {
			return fmt.Errorf("%s: %s", cause.told, found[1])
		}
		return errors.New(cause.told)
	}
	return errors.New("it ends with an error")
}

func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= maxInvalid {
		return text
	}
	return strings.ToValidUTF8(text[:maxInvalid], "") + "…"
}

// typeNames are the types that an expression can name. A field of the object may have such a name
// only where it is `type`, which Secrets have.
var typeNames = []string{
	"bool", "bytes", "double", "duration", "dyn", "int", "list", "map", "null_type", "string", "timestamp", "uint",
}

// variables returns the names that an expression may mean as fields of the object. The variables of
// its macros are among them, which hide the fields.
func variables(parsed *cel.Ast) []string {
	var found []string
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(expr ast.Expr) {
		if expr.Kind() != ast.IdentKind {
			return
		}
		name := expr.AsIdent()
		if !strings.HasPrefix(name, "@") && !strings.HasPrefix(name, "__") && !slices.Contains(typeNames, name) {
			found = append(found, name)
		}
	}))
	slices.Sort(found)
	return slices.Compact(found)
}
