package health

import (
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// costs is the cost of calls whose overload is known only when they are made, since the fields of an
// object are of any type: CEL counts each of them as one, whatever it works on.
type costs struct{}

// CallCost returns nil where CEL's own count is right.
func (costs) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	total := uint64(1)
	switch {
	case function == operators.Equals || function == operators.NotEquals:
		total += min(weight(args[0], maxCost), weight(args[1], maxCost))
	case function == operators.Add:
		// A sum of lists is made of both, without a copy: what goes through it later has no count.
		for _, value := range append(args, result) {
			total += length(value)
		}
		if list, ok := result.(traits.Lister); ok {
			if size, ok := list.Size().(types.Int); ok {
				total += uint64(size)
			}
		}
	case function == operators.In:
		total += weight(args[1], maxCost)
	case overload == "" || overload == overloads.ExtFormatString:
		for _, value := range append(args, result) {
			total += length(value)
		}
		if overload == overloads.ExtFormatString {
			total += weight(args[1], maxCost)
		}
	default:
		return nil
	}
	return &total
}

// length is the cost of going through a text; what is no text costs nothing.
func length(value ref.Val) uint64 {
	switch it := value.(type) {
	case types.String:
		return uint64(len(it)) / 10
	case types.Bytes:
		return uint64(len(it)) / 10
	}
	return 0
}

// weight is the cost of going through a value, to its last item, as far as limit.
func weight(value ref.Val, limit uint64) uint64 {
	total := 1 + length(value)
	add := func(item ref.Val) { total += weight(item, limit-min(limit, total)) }
	switch it := value.(type) {
	case traits.Mapper:
		for keys := it.Iterator(); total < limit && keys.HasNext() == types.True; {
			add(it.Get(keys.Next()))
		}
	case traits.Lister:
		for items := it.Iterator(); total < limit && items.HasNext() == types.True; {
			add(items.Next())
		}
	}
	return total
}
