// CoreDNS with only the plugins a cluster's DNS needs: the full program takes several times as long to build.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"

	"github.com/coredns/coredns/coremain"
)

func init() {
	// The order in which plugins see a query.
	dnsserver.Directives = []string{"reload", "health", "ready", "errors", "loop", "cache", "kubernetes", "forward"}
}

func main() {
	coremain.Run()
}
