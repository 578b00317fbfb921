package render

import (
	"bufio"
	"bytes"
	"slices"

	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"releaselifecycle.dev/engine/internal/protocol"
)

// capabilities are those of the cluster, or without one what `helm template` takes.
func capabilities(asked *protocol.Capabilities) (*common.Capabilities, *protocol.Error) {
	known := common.DefaultCapabilities.Copy()
	if asked == nil {
		return known, nil
	}
	parsed, err := common.ParseKubeVersion(asked.KubeVersion)
	if err != nil {
		return nil, protocol.Errorf(protocol.BadRequest, "capabilities.kubeVersion %q: %s", asked.KubeVersion, err)
	}
	// Not the parsed version itself: of a real cluster Helm keeps the version
	// as the API server says it, and compares charts' ranges with that.
	known.KubeVersion = common.KubeVersion{Version: asked.KubeVersion, Major: asked.Major, Minor: asked.Minor}
	if asked.Major == "" {
		known.KubeVersion.Major = parsed.Major
	}
	if asked.Minor == "" {
		known.KubeVersion.Minor = parsed.Minor
	}
	known.APIVersions = slices.Clone(asked.APIVersions)
	return known, nil
}

// defined are the API versions that a chart's crds/ define, as Helm names them.
// Helm creates those objects before it asks the cluster what it serves.
func defined(crds []chart.CRD) []string {
	var versions []string
	for _, crd := range crds {
		reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(crd.File.Data)))
		for {
			document, err := reader.Read()
			if err != nil {
				break // The end, or what the API server will complain of.
			}
			var definition struct {
				Kind string `json:"kind"`
				Spec struct {
					Group string `json:"group"`
					Names struct {
						Kind string `json:"kind"`
					} `json:"names"`
					Versions []struct {
						Name   string `json:"name"`
						Served bool   `json:"served"`
					} `json:"versions"`
				} `json:"spec"`
			}
			if yaml.Unmarshal(document, &definition) != nil || definition.Kind != "CustomResourceDefinition" {
				continue
			}
			for _, version := range definition.Spec.Versions {
				if served := definition.Spec.Group + "/" + version.Name; version.Served {
					versions = append(versions, served, served+"/"+definition.Spec.Names.Kind)
				}
			}
		}
	}
	return versions
}
