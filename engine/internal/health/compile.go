package health

import (
	"errors"
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
)

type compiler struct{ env *cel.Env }

// newCompiler has the functions that Flux has, each with its cost.
func newCompiler() (*compiler, error) {
	env, err := cel.NewEnv(
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(),
		ext.Strings(),
		ext.Sets(),
		ext.Encoders(),
	)
	if err != nil {
		return nil, err
	}
	return &compiler{env}, nil
}

// compile returns the program of an expression. Flux only parses it. Here it is checked as well, with
// every name as a field of any type: so an unknown function, or a result that is no bool, is found
// before anything begins.
func (c *compiler) compile(text string) (cel.Program, error) {
	if len(text) > maxLength {
		return nil, fmt.Errorf("it is longer than %d bytes", maxLength)
	}
	parsed, issues := c.env.Parse(text)
	if err := problem(issues); err != nil {
		return nil, err
	}
	var options []cel.EnvOption
	for _, name := range variables(parsed) {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	env, err := c.env.Extend(options...)
	if err != nil {
		return nil, err
	}
	checked, issues := env.Check(parsed)
	if err := problem(issues); err != nil {
		return nil, err
	}
	if is := checked.OutputType(); !is.IsExactType(cel.BoolType) && !is.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("its result must be a bool, and is %s", is)
	}
	// Nothing is folded when it is compiled: that has no limit.
	return env.Program(checked, cel.CostTracking(costs{}), cel.CostLimit(maxCost), cel.InterruptCheckFrequency(10))
}

// problem returns the first issue in one line.
func problem(issues *cel.Issues) error {
	if issues == nil || issues.Err() == nil {
		return nil
	}
	all := issues.Errors()
	if len(all) == 0 {
		return errors.New("it cannot be parsed")
	}
	first := all[0]
	return fmt.Errorf("line %d, column %d: %s", first.Location.Line(), first.Location.Column()+1, first.Message)
}
