// controlplane: the real Kubernetes components in one binary, run without containers by the tests.
//
//	controlplane etcd <data folder> <client URL> <peer URL>
//	controlplane kube-apiserver|kube-controller-manager|kube-scheduler [flags]
//
// Each of them ends when the process that started it has ended: a killed test run leaves nothing behind.
package main

import (
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	api "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	sched "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: controlplane etcd|kube-apiserver|kube-controller-manager|kube-scheduler …"))
	}
	go endWithParent(os.Getppid())
	component := os.Args[1]
	os.Args = append(os.Args[:1], os.Args[2:]...)
	switch component {
	case "kube-apiserver":
		os.Exit(cli.Run(api.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(kcm.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(sched.NewSchedulerCommand()))
	case "etcd":
		if len(os.Args) != 4 {
			fail(fmt.Errorf("usage: controlplane etcd <data folder> <client URL> <peer URL>"))
		}
		etcd(os.Args[1], parse(os.Args[2]), parse(os.Args[3]))
	default:
		fail(fmt.Errorf("unknown component %q", component))
	}
}

func etcd(folder string, client, peer url.URL) {
	config := embed.NewConfig()
	config.Dir = folder
	config.ListenClientUrls = []url.URL{client}
	config.AdvertiseClientUrls = []url.URL{client}
	config.ListenPeerUrls = []url.URL{peer}
	config.AdvertisePeerUrls = []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.LogLevel = "error"
	// The data is thrown away after the run.
	config.UnsafeNoFsync = true
	// A single member elects itself: no reason to wait the usual second.
	config.TickMs, config.ElectionMs = 10, 100
	server, err := embed.StartEtcd(config)
	if err != nil {
		fail(err)
	}
	<-server.Server.ReadyNotify()
	fmt.Println("ready")
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-ended:
		server.Close()
	case err := <-server.Err():
		fail(err)
	}
}

func endWithParent(parent int) {
	for range time.Tick(time.Second) {
		if os.Getppid() != parent {
			os.Exit(1)
		}
	}
}

func parse(text string) url.URL {
	parsed, err := url.Parse(text)
	if err != nil {
		fail(err)
	}
	return *parsed
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}
