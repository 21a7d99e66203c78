// Modules that bring kinds (CRDs) of others, which the chart's objects may be of. Nothing here is
// built: `go mod download` fetches them, checked against go.sum.
module strandline.dev/tests/cluster/tools/kinds

go 1.26.0

require (
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.3
)
